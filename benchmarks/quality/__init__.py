"""What comes out, beside what the peers give: quality at the same number of codes."""
