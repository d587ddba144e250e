"""What serving raises. Nothing else lives here."""


class SettingsError(Exception):
    """A setting of the server is wrong; the message names its variable."""
