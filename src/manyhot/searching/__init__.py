"""Many fits of one table, with settings that are found out."""
