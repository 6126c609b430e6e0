"""Who owned how much, when and since when."""
