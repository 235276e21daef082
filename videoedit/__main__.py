"""``python -m videoedit``, and what the command ``videoedit`` calls."""

import sys


def main() -> None:
    """Run the command line; a Ctrl-C while it is still being imported is no defect either."""
    try:
        from videoedit.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped; nothing was begun\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
