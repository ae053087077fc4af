"""What makes data sound: schemas of batches (`schemas`), rules for single bars (`row_rules`), holes in a series (`gaps`).

Pure: arrays and frames in, verdicts out. Where a bad row is put, and who is told, belongs to the shells.
"""
