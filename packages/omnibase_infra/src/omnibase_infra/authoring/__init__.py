"""What is written from contracts and what helps to write them: schemas, reference, drawings, scaffolds. Pure."""
