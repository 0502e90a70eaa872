"""The database: tables, sessions, migrations, and the server that is embedded where no other is named."""
