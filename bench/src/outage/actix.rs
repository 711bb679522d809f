//! The same application over actix-session with its Redis store, as its documentation sets it up. It has nothing to set for
//! outages but the pool, which has no limit for commands.

use std::io;
use std::time::Duration;

use actix_session::storage::RedisSessionStore;
use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::Key;
use actix_web::error::{ErrorInternalServerError, ErrorUnauthorized};
use actix_web::{App, Error, HttpServer, rt, web};

/// Serves on one thread until the process ends, and says where.
pub(super) fn serve(url: &str) -> io::Result<()> {
    rt::System::new().block_on(async {
        let store = RedisSessionStore::new(url).await.expect("a Redis server at the URL");
        let server = HttpServer::new(move || {
            // All servers have the same.
            let key = Key::from(&[7; 64]);
            App::new()
                .wrap(SessionMiddleware::new(store.clone(), key))
                .route("/login/{user}", web::get().to(login))
                .route("/read", web::get().to(read))
                .route("/write", web::post().to(write))
                .route("/logout", web::post().to(logout))
        });
        // A connection that is closed while it is idle is no fault of a session layer.
        let server = server.workers(1).keep_alive(Duration::from_secs(600)).bind("127.0.0.1:0")?;
        println!("ready {}", server.addrs()[0]);
        server.run().await
    })
}

async fn login(session: Session, user: web::Path<String>) -> Result<&'static str, Error> {
    session.renew();
    session.insert("n", 0u64).map_err(ErrorInternalServerError)?;
    session.insert("user", user.into_inner()).map_err(ErrorInternalServerError)?;
    Ok("")
}

async fn read(session: Session) -> Result<String, Error> {
    let user: Option<String> = session.get("user").map_err(ErrorInternalServerError)?;
    let n: Option<u64> = session.get("n").map_err(ErrorInternalServerError)?;
    let user = user.ok_or_else(|| ErrorUnauthorized(""))?;
    Ok(format!("{user} {}", n.unwrap_or_default()))
}

async fn write(session: Session) -> Result<String, Error> {
    let user: Option<String> = session.get("user").map_err(ErrorInternalServerError)?;
    let user = user.ok_or_else(|| ErrorUnauthorized(""))?;
    let n: Option<u64> = session.get("n").map_err(ErrorInternalServerError)?;
    let n = n.unwrap_or_default() + 1;
    session.insert("n", n).map_err(ErrorInternalServerError)?;
    Ok(format!("{user} {n}"))
}

async fn logout(session: Session) -> &'static str {
    session.purge();
    ""
}
