"""The command line: words in, words out. No rule of the import lives here."""
