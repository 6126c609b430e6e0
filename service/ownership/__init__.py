"""Who owned how much of a token, when and since when: views and files."""
