"""One module a kind; each exports KIND and is the only place where a spec field is declared."""
