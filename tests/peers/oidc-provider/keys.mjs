// The keys and certificates of the server and of its clients.
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const target = fileURLToPath(new URL('../../../target/oidc-provider-keys', import.meta.url));

// Copies the keys of this day to a directory. To make them takes longer than the start of the server, and tests start it
// often; the certificates are valid for two days.
export const provideKeys = (directory) => {
  const made = join(target, new Date().toISOString().slice(0, 10));
  if (!existsSync(made)) {
    mkdirSync(target, { recursive: true });
    const incomplete = mkdtempSync(`${made}-`);
    writeKeys(incomplete);
    try {
      renameSync(incomplete, made);
    } catch (error) {
      // Another server was faster.
      if (!existsSync(made)) throw error;
      rmSync(incomplete, { recursive: true });
    }
  }
  cpSync(made, directory, { recursive: true });
};

// Writes client keys for private_key_jwt, and a small CA with a server and client certificates for TLS and mTLS.
const writeKeys = (keys) => {
  const write = (name, key, type) => writeFileSync(join(keys, name), key.export({ type, format: 'pem' }), { mode: 0o600 });
  // To make an RSA key takes a hundred times as long as another: one serves each client with such a key.
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  write('rs256.pem', rsa, 'pkcs8');
  write('ps256.pem', rsa, 'pkcs8');
  write('es256.pem', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, 'pkcs8');
  write('es384.pem', generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey, 'pkcs8');
  write('eddsa.pem', generateKeyPairSync('ed25519').privateKey, 'pkcs8');

  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const openssl = (...args) => execFileSync('openssl', args, { cwd: keys, stdio: 'pipe' });
  const subject = (name) => `/O=peer/CN=${name}`;
  const authority = (name, title) => openssl('req', '-x509', ...newKey, '-nodes', '-days', '2', '-keyout', `${name}.key`, '-out', `${name}.crt`, '-subj', subject(title),
    '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign');
  const issue = (name, extra, signer = 'ca') => {
    openssl('req', ...newKey, '-nodes', '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject(name));
    writeFileSync(join(keys, `${name}.ext`), extra);
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${signer}.crt`, '-CAkey', `${signer}.key`, '-CAcreateserial', '-days', '2', '-out', `${name}.crt`, '-extfile', `${name}.ext`);
  };
  authority('ca', 'peer CA');
  issue('server', 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n');
  issue('client', 'subjectAltName=DNS:client.peer\nextendedKeyUsage=clientAuth\n');
  // The same name and another key, as after a renewal; another name; the same name by an authority that nobody trusts.
  issue('client-renewed', 'subjectAltName=DNS:client.peer\nextendedKeyUsage=clientAuth\n');
  issue('client-other', 'subjectAltName=DNS:other.peer\nextendedKeyUsage=clientAuth\n');
  authority('stranger', 'stranger');
  issue('client-stranger', 'subjectAltName=DNS:client.peer\nextendedKeyUsage=clientAuth\n', 'stranger');
  // Certificates that sign themselves, with keys in the older forms: SEC 1, with its parameters before it, and PKCS#1.
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-out', 'self-signed.key');
  write('self-signed-rsa.key', rsa, 'pkcs1');
  for (const name of ['self-signed', 'self-signed-rsa']) {
    openssl('req', '-x509', '-key', `${name}.key`, '-days', '2', '-out', `${name}.crt`, '-subj', subject(name));
  }
};
