"""The controller: creates and renews the authority, publishes the trust bundle."""
