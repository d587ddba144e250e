"""The admission webhook: a Pod comes in, a JSON Patch goes out."""
