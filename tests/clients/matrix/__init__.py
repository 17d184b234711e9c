"""Each client's uploads to each service, and the page that says what came of them."""
