// Receives deliveries and verifies each: HMAC by the public `standardwebhooks` library, ed25519 by Node's own crypto
// (the library knows HMAC only). Prints the URL it listens at, then one line of JSON for each request.
//
//   node receiver.mjs '{"/hmac": "whsec_…", "/ed25519": "whpk_…"}'

import { createPublicKey, verify as verifySignature } from "node:crypto";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const secrets = JSON.parse(process.argv[2]);
const tolerance = 300;

function verifyEd25519(publicKey, body, headers) {
  const raw = Buffer.from(publicKey.slice("whpk_".length), "base64");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") }, format: "jwk" });
  const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signatures } = headers;
  if (Math.abs(Date.now() / 1000 - Number(time)) > tolerance) throw new Error("the timestamp is too old or too new");
  const signed = Buffer.concat([Buffer.from(`${id}.${time}.`), body]);
  const valid = signatures
    .split(" ")
    .map((signature) => signature.split(","))
    .some(([version, value]) => version === "v1a" && verifySignature(null, signed, key, Buffer.from(value, "base64")));
  if (!valid) throw new Error("No matching signature found");
  return JSON.parse(body);
}

function verify(secret, body, headers) {
  return secret.startsWith("whpk_") ? verifyEd25519(secret, body, headers) : new Webhook(secret).verify(body, headers);
}

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const seen = { path: request.url, id: request.headers["webhook-id"] };
    try {
      Object.assign(seen, { verified: true, payload: verify(secrets[request.url], Buffer.concat(chunks), request.headers) });
    } catch (error) {
      Object.assign(seen, { verified: false, error: error.message });
    }
    response.writeHead(seen.verified ? 204 : 400).end();
    console.log(JSON.stringify(seen));
  });
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
