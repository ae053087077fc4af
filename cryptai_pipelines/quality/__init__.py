"""What makes data sound: schemas of batches (`schemas`), rules for single bars (`row_rules`) and for runs of them
(`series_rules`, whose marks stand by subject in `*_signs`), holes in a series (`gaps`), why they are there (`gap_classes`,
`outages`), and how complete a series is (`completeness`).

Pure: arrays and frames in, verdicts out. Where a bad row is put, and who is told, belongs to the shells.
"""
