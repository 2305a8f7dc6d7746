// A real OpenID provider on a loopback port: node server.mjs PORT ACCOUNTS.json
// ACCOUNTS.json maps user names to claims and is read at every sign-in. Keys are new with every start.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const [port, accounts] = [Number(process.argv[2]), process.argv[3]];

const server = createServer();
await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const key = (kind, options, alg) => {
  const { privateKey } = generateKeyPairSync(kind, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: randomBytes(8).toString('hex'), alg, use: 'sig' };
};
const client = {
  application_type: 'native',
  grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
  redirect_uris: ['http://127.0.0.1/callback'],
  response_types: ['code'],
};
const confidential = { client_secret: 'a secret: 100% of it + more', id_token_signed_response_alg: 'ES256' };

// The pages of a gateway: WEB_REDIRECT is their redirect address.
const web = {
  ...confidential, client_id: 'web', token_endpoint_auth_method: 'client_secret_basic', response_types: ['code'],
  grant_types: ['authorization_code'], redirect_uris: [process.env.WEB_REDIRECT],
};

const provider = new Provider(issuer, {
  clients: [
    { ...client, client_id: 'jitgate', token_endpoint_auth_method: 'none' },
    { ...client, ...confidential, client_id: 'basic', token_endpoint_auth_method: 'client_secret_basic' },
    { ...client, ...confidential, client_id: 'post', token_endpoint_auth_method: 'client_secret_post' },
    ...(process.env.WEB_REDIRECT ? [web] : []),
  ],
  jwks: { keys: [key('rsa', { modulusLength: 2048 }, 'RS256'), key('ec', { namedCurve: 'P-256' }, 'ES256')] },
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username', 'employee_number', 'cost_center', 'company', 'team'],
    groups: ['groups', 'realm_access'],
  },
  scopes: ['openid', 'profile', 'groups'],
  // Claims in the ID token, as Entra ID, Okta and Keycloak put them there, or in the userinfo alone.
  conformIdTokenClaims: process.env.CLAIMS_IN_USERINFO === 'true',
  features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  findAccount: (_, id) => {
    const claims = JSON.parse(readFileSync(accounts, 'utf8'))[id];
    return claims && { accountId: id, claims: () => ({ sub: id, ...claims }) };
  },
  cookies: { keys: [randomBytes(16).toString('hex')] },
  ttl: { DeviceCode: 600, Interaction: 600, Session: 3600, Grant: 3600, IdToken: 300, AccessToken: 300 },
});

// How long a device waits before it asks again; five seconds when nothing is said (RFC 8628, 3.2).
provider.use(async (ctx, next) => {
  await next();
  if (ctx.oidc?.route === 'device_authorization' && ctx.body?.device_code) ctx.body = { ...ctx.body, interval: 1 };
});

server.on('request', provider.callback());
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
