"""Names, identities and grammars that more than one program must agree on."""
