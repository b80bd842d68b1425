"""`python -m importer`, which is `ymlf`."""

from importer.cli.main import main

if __name__ == "__main__":
    main()
