"""The application: the ways in, the services and the tables that they share. It never loads torch."""
