"""What reading a document raises. Nothing else lives here."""


class DocumentError(Exception):
    """A file or a document that cannot be read: one line that names the source, the place and the problem."""
