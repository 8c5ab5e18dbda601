"""Commands that help to use the package."""
