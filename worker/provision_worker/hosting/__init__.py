"""Web sites on AWS: `model` is what is wanted, `observe` what is there, `plan` what to do about it, `act` does it."""
