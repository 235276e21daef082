from videoedit.cli import main

if __name__ == "__main__":
    main()
