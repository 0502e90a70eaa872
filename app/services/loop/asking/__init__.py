"""What people are asked, why, and how far they are believed."""
