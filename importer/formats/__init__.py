"""The file formats of run directories, each parsed safely from bytes of a stranger."""
