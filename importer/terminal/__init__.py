"""What a person or a job sees: options, words, tables, charts, progress, an exit status."""
