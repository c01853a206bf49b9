// The grants that oidc-provider leaves to its users: JWT bearer (RFC 7523) and token exchange (RFC 8693), with the checks
// that those RFCs ask for, and one that stands for a sign-in in a browser and yields a first refresh token.
import { createLocalJWKSet, decodeJwt, errors as jose, jwtVerify } from 'jose';
import { errors } from 'oidc-provider';

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const SIGN_IN = 'urn:peer:sign-in';
export const grantTypes = [JWT_BEARER, TOKEN_EXCHANGE];
export const signInGrantTypes = [SIGN_IN, 'refresh_token'];

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';

export const register = (provider) => {
  const used = new Set();

  // A JWT of a client that has registered keys: for this server, of now, and with a `jti` that did not come before.
  const verified = async (jwt, Refusal) => {
    let issuer;
    try {
      issuer = decodeJwt(jwt).iss;
    } catch {
      throw new Refusal('that is no JWT');
    }
    const keys = issuer && (await provider.Client.find(issuer))?.jwks;
    if (!keys) throw new Refusal('the issuer of the JWT has no keys here');
    try {
      const { payload } = await jwtVerify(jwt, createLocalJWKSet(keys), {
        issuer,
        audience: provider.issuer,
        requiredClaims: ['sub', 'exp', 'iat', 'jti'],
        maxTokenAge: '5m',
      });
      return payload;
    } catch (error) {
      if (!(error instanceof jose.JOSEError)) throw error;
      throw new Refusal(`the JWT is refused: ${error.code}`);
    }
  };

  const granted = async (ctx, more = {}) => {
    const { client, params } = ctx.oidc;
    const allowed = client.scope.split(' ');
    const scopes = params.scope ? params.scope.split(' ') : allowed;
    if (!scopes.every((scope) => allowed.includes(scope))) throw new errors.InvalidScope('not allowed', params.scope);
    const token = new provider.ClientCredentials({ client, scope: scopes.join(' ') });
    const value = await token.save();
    ctx.body = { access_token: value, expires_in: token.expiration, token_type: token.tokenType, scope: token.scope, ...more };
  };

  provider.registerGrantType(JWT_BEARER, async (ctx) => {
    const { assertion } = ctx.oidc.params;
    if (!assertion) throw new errors.InvalidRequest('assertion is missing');
    const { iss, jti } = await verified(assertion, errors.InvalidGrant);
    const name = JSON.stringify([iss, jti]);
    if (used.has(name)) throw new errors.InvalidGrant('the assertion was used before');
    used.add(name);
    await granted(ctx);
  }, ['assertion', 'scope']);

  // RFC 8693 section 2.2.2: a token that is not valid is an invalid request.
  const party = async (params, name, required) => {
    const [token, type] = [params[`${name}_token`], params[`${name}_token_type`]];
    if (!token && !type && !required) return;
    if (!token || !type) throw new errors.InvalidRequest(`${name}_token and ${name}_token_type come together`);
    if (type === JWT) {
      await verified(token, errors.InvalidRequest);
    } else if (type === ACCESS_TOKEN) {
      const found = await provider.ClientCredentials.find(token);
      if (!found?.isValid) throw new errors.InvalidRequest(`${name}_token is not valid`);
    } else {
      throw new errors.InvalidRequest(`${name}_token_type is not known`);
    }
  };

  provider.registerGrantType(TOKEN_EXCHANGE, async (ctx) => {
    const { params } = ctx.oidc;
    await party(params, 'subject', true);
    await party(params, 'actor', false);
    const issued = params.requested_token_type ?? ACCESS_TOKEN;
    if (issued !== ACCESS_TOKEN) throw new errors.InvalidRequest('that type of token is not issued');
    await granted(ctx, { issued_token_type: issued });
  }, ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'audience', 'resource', 'scope'], ['audience', 'resource']);

  provider.registerGrantType(SIGN_IN, async (ctx) => {
    const { client } = ctx.oidc;
    const grant = new provider.Grant({ accountId: 'jane', clientId: client.clientId });
    grant.addOIDCScope(client.scope);
    const token = new provider.RefreshToken({ accountId: 'jane', client, grantId: await grant.save(), gty: SIGN_IN, scope: client.scope });
    ctx.body = { refresh_token: await token.save() };
  });
};
