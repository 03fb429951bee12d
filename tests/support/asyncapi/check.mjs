// Validates the AsyncAPI document on stdin with AsyncAPI's own parser; prints each finding, and fails on any.
import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const require = createRequire(`${process.argv[2]}/`);
const { Parser } = require('@asyncapi/parser');

const { document, diagnostics } = await new Parser().parse(await text(process.stdin));
const found = diagnostics.filter(({ severity }) => severity <= 1);
for (const { code, path, message } of found) console.log(`${path.join('.')}: ${message} (${code})`);
if (document) console.log(`${document.channels().all().length} channels, ${document.operations().all().length} operations`);
process.exitCode = document && found.length === 0 ? 0 : 1;
