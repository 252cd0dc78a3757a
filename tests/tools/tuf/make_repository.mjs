// SPDX-License-Identifier: Apache-2.0
// node make_repository.mjs DIR: a repository signed by the models of tuf-js, for our client. Roles
// have keys of each type, targets need two of three; the files are not canonical JSON; strings hold
// what canonical JSON escapes and what it does not.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { canonicalize } from '@tufjs/canonical-json';
import { Key, Metadata, MetaFile, Root, Signature, Snapshot, TargetFile, Targets, Timestamp }
  from '@tufjs/models';

const directory = process.argv[2];
const common = { specVersion: '1.0.31', expires: '2099-01-01T00:00:00Z' };
const sha256 = (data) => crypto.createHash('sha256').update(data).digest('hex');

function makeKey(type) {
  const options = { ec: { namedCurve: 'P-256' }, rsa: { modulusLength: 2048 }, ed25519: {} }[type];
  const { publicKey, privateKey } = crypto.generateKeyPairSync(type, options);
  const pem = publicKey.export({ format: 'pem', type: 'spki' });
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex');
  const object = {
    ed25519: { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: raw } },
    ec: { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: pem } },
    rsa: { keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval: { public: pem } },
  }[type];
  const key = Key.fromJSON(sha256(canonicalize(object)), object);
  const signer = type === 'rsa' ? { key: privateKey, padding: crypto.constants.RSA_PKCS1_PSS_PADDING } : privateKey;
  const sign = (data) => crypto.sign(type === 'ed25519' ? null : 'sha256', data, signer).toString('hex');
  return { key, sign: (data) => new Signature({ keyID: key.keyID, sig: sign(data) }) };
}

function write(name, signed, keys) {
  const metadata = new Metadata(signed);
  for (const key of keys) metadata.sign(key.sign, true);
  const text = JSON.stringify(metadata.toJSON(), null, 1);
  fs.mkdirSync(`${directory}/metadata`, { recursive: true });
  fs.writeFileSync(`${directory}/metadata/${name}`, text);
  return text;
}

const meta = (version, text) =>
  new MetaFile({ version, length: Buffer.byteLength(text), hashes: { sha256: sha256(text) } });

const keys = {
  root: [makeKey('ed25519')], timestamp: [makeKey('ec')], snapshot: [makeKey('rsa')],
  targets: [makeKey('ed25519'), makeKey('ec'), makeKey('rsa')],
};
const root = new Root({ ...common, version: 1, consistentSnapshot: true });
for (const [role, list] of Object.entries(keys)) {
  for (const { key } of list) root.addKey(key, role);
}
root.roles.targets.threshold = 2;

const content = 'content of a target\n';
const targets = new Targets({ ...common, version: 7 });
targets.addTarget(TargetFile.fromJSON('file.txt', {
  length: content.length,
  hashes: { sha256: sha256(content), sha512: crypto.createHash('sha512').update(content).digest('hex') },
  custom: { 'quote"back\\slash': 'tab\tnewline\nbell\u0007', größe: [-1, null, true, { 'ẞ€': 'é' }] },
}));
const targetsText = write('7.targets.json', targets, keys.targets.slice(1));
const snapshot = new Snapshot({ ...common, version: 5, meta: { 'targets.json': meta(7, targetsText) } });
const snapshotText = write('5.snapshot.json', snapshot, keys.snapshot);
const timestamp = new Timestamp({ ...common, version: 3, snapshotMeta: meta(5, snapshotText) });
write('timestamp.json', timestamp, keys.timestamp);
write('1.root.json', root, keys.root);
fs.mkdirSync(`${directory}/targets`);
fs.writeFileSync(`${directory}/targets/${sha256(content)}.file.txt`, content);
