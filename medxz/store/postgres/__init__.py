"""PostgreSQL: connections, migrations, notifications, and the log of a clinic on them."""
