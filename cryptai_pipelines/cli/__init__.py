"""The `cryptai` command: one module per command. What a command does is done by the rooms; here stand arguments, progress,
output and exit codes."""
