"""People as owners and admins deal with them: invitations, members, groups, accounts, and leaving for good."""
