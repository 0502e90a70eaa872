"""What of the documentation's site is made from code: pages that can't be out of date, and the hook that adds them."""
