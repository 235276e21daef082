player(document.getElementById("player"), { keys: document, autoplay: true });
