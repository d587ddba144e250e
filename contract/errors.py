"""What parsing a shared name or grammar raises. Each message names the field, the value and what is allowed."""


class ContractError(ValueError):
    """Base of all errors of this package."""


class IdentityError(ContractError):
    """Text that names no trust domain or workload identity."""
