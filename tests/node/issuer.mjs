// An OpenID provider: tokens for clients (signed ones for a resource, opaque ones without), a key
// set that changes when it is told, and introspection.
//
// POST /rotate?keep=N makes a new key, which signs from then on, and keeps the N newest of the others.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const library = join(process.env.MODULES, 'oidc-provider/lib/index.js');
const { Provider } = await import(pathToFileURL(library).href);

const port = Number(process.env.PORT);
const issuer = `http://127.0.0.1:${port}`;
let made = 0;
let keys = [];
let current;

// The first key of an algorithm signs, so the newest comes first.
function start(keep) {
  made += 1;
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = { ...privateKey.export({ format: 'jwk' }), kid: `key-${made}`, alg: 'ES256', use: 'sig' };
  keys = [jwk, ...keys.slice(0, keep)];
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'acme',
        client_secret: 'secret-of-acme',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: 'ES256',
      },
    ],
    clientBasedCORS: () => false,
    jwks: { keys },
    scopes: ['users.read'],
    ttl: { ClientCredentials: 600 },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'users.read',
          audience: 'shop',
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
  current = provider.callback();
}

start(0);
const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, issuer);
  if (request.method === 'POST' && pathname === '/rotate') {
    start(Number(searchParams.get('keep')));
    response.end(keys[0].kid);
  } else {
    current(request, response);
  }
});
server.listen(port, '127.0.0.1', () => console.log('the issuer listens'));
process.on('SIGTERM', () => process.exit(0));
