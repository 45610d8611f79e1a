"""The nouns of Drover: frozen values that every room may hold. Standard library only; nothing here does I/O."""
