"""What a project holds, found again and put right: lists with filters, paged by key, and changes that can be undone."""
