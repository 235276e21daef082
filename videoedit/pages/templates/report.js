compare(document.getElementById("player"));
player(document.getElementById("player"), { keys: document, autoplay: true });
