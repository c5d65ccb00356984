//! Who we are to a smarthost: by a password, or by an access token that is fetched when it is needed.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_config::{OAuth2, SmarthostAuthentication, SmarthostId};
use relay_smtp::EnhancedCode;
use relay_smtp::client::{Credentials, Failure, Proof, Stage};

use super::Attempt;
use crate::delivery::connection::{self, Connection, ConnectionError, Target};
use crate::delivery::outcome::{Fate, Kind};
use crate::delivery::token::{self, TokenError, Way};

/// Octets of chance in a nonce.
const NONCE: usize = 18;

impl Attempt<'_, '_> {
    /// Who we are to a smarthost; a fault of its tokens leaves mail waiting, since it is ours.
    pub(super) async fn credentials(
        &self,
        id: Option<SmarthostId>,
    ) -> Result<Option<Credentials>, Fate> {
        let Some((id, authentication)) = self.authentication(id) else {
            return Ok(None);
        };
        let Some(oauth2) = &authentication.oauth2 else {
            return Ok(by_password(authentication));
        };
        let token = match self.token_way(id) {
            // Rarely awaited, and large.
            Ok(way) => Box::pin(self.engine.context.egress.tokens.get(oauth2, &way)).await,
            Err(error) => Err(error),
        };
        let token = token.map_err(|error| {
            let text = format!("no access token for the next server: {error}");
            Fate::host(Kind::Deferred, EnhancedCode::new(4, 7, 0), None, text)
        })?;
        Ok(Some(Credentials {
            username: authentication.username.clone(),
            proof: Proof::Token(token.expose().into()),
        }))
    }

    /// Opens a connection, and keeps in mind whether a login was refused. A server that refuses an access
    /// token gets another one, once.
    pub(super) async fn open(
        &self,
        target: Target,
        id: Option<SmarthostId>,
    ) -> Result<Connection, ConnectionError> {
        let with_login = target.credentials.is_some();
        let result = self.open_with_token(target, id).await;
        let smarthost = id.and_then(|id| self.snapshot.config.delivery.smarthost(id));
        if with_login
            && let Some(smarthost) = smarthost
            && let Some(authentication) = &smarthost.authentication
        {
            let context = &self.engine.context;
            let config = &context.snapshot.load().config;
            let logins = &context.egress.logins;
            logins.learn(config, &smarthost.host, authentication, &result);
        }
        result
    }

    async fn open_with_token(
        &self,
        mut target: Target,
        id: Option<SmarthostId>,
    ) -> Result<Connection, ConnectionError> {
        let metrics = &self.engine.context.metrics;
        let result = Box::pin(connection::open(&target, metrics)).await;
        let refused = matches!(
            &result,
            Err(ConnectionError::Session(Failure::Refused {
                stage: Stage::Authentication,
                ..
            }))
        );
        if refused
            && let Some(oauth2) = self.oauth2(id)
            && let Some(Credentials {
                proof: Proof::Token(token),
                ..
            }) = &target.credentials
            && self.engine.context.egress.tokens.reject(oauth2, token)
            && let Ok(Some(credentials)) = self.credentials(id).await
        {
            target.credentials = Some(credentials);
            return Box::pin(connection::open(&target, metrics)).await;
        }
        result
    }

    fn authentication(
        &self,
        id: Option<SmarthostId>,
    ) -> Option<(SmarthostId, &SmarthostAuthentication)> {
        let smarthost = self.snapshot.config.delivery.smarthost(id?)?;
        Some((id?, smarthost.authentication.as_ref()?))
    }

    fn oauth2(&self, id: Option<SmarthostId>) -> Option<&OAuth2> {
        self.authentication(id)?.1.oauth2.as_ref()
    }

    fn token_way(&self, id: SmarthostId) -> Result<Way, TokenError> {
        let unreachable = |text: String| TokenError::Unreachable(text);
        let resolver = self.engine.resolvers.plain(&self.snapshot.config.dns);
        let contexts = self.snapshot.smarthost_tls.get(&id);
        let tls = contexts.and_then(|contexts| contexts.tokens.clone());
        Ok(Way {
            resolver: resolver.map_err(|error| unreachable(error.to_string()))?,
            tls: tls.ok_or_else(|| unreachable("there is no TLS context for it".into()))?,
            limit: token::LIMIT,
        })
    }
}

/// With a password, if that is what is configured.
fn by_password(authentication: &SmarthostAuthentication) -> Option<Credentials> {
    let password = authentication.password.as_ref()?;
    Some(Credentials {
        username: authentication.username.clone(),
        proof: Proof::Password {
            password: password.expose().into(),
            nonce: nonce(),
        },
    })
}

/// Should the system have no chance left to give, the empty text: a server then sees a nonce that it
/// must refuse.
fn nonce() -> String {
    let mut octets = [0; NONCE];
    match rand::fill(&mut octets) {
        Ok(()) => STANDARD.encode(octets),
        Err(_) => String::new(),
    }
}
