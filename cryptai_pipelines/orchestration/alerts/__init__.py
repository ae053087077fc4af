"""What goes wrong, as data: gathering it (`data_causes`, `dagster_causes`), comparing it with what is known (`cause`), putting
it into words (`messages`) and getting the words to a person (`delivery`, `send_process`). What is remembered is in
`storage.alerts`; when it happens is in the sensors."""
