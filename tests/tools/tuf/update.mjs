// SPDX-License-Identifier: Apache-2.0
// node update.mjs BASE_URL STATE_DIR TARGET: what a device does, with tuf-js. STATE_DIR/root.json is
// trusted; prints the path of the verified target file.
import fs from 'node:fs';
import { Updater } from 'tuf-js';

const [baseUrl, stateDirectory, target] = process.argv.slice(2);
const targetDirectory = `${stateDirectory}/targets`;
fs.mkdirSync(targetDirectory, { recursive: true });
const updater = new Updater({
  metadataDir: stateDirectory,
  metadataBaseUrl: `${baseUrl}/metadata`,
  targetDir: targetDirectory,
  targetBaseUrl: `${baseUrl}/targets`,
  config: { fetchRetries: 0 },
});
await updater.refresh();
const info = await updater.getTargetInfo(target);
if (!info) throw new Error(`no target ${target}`);
process.stdout.write(await updater.downloadTarget(info));
