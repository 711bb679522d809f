//! Values of one session that are of several types: each is decoded when it is asked for, and only that one.

use axum::http::StatusCode;

use crate::support::Server;

#[tokio::test]
async fn a_value_that_can_not_be_decoded_stands_in_the_way_of_no_other() {
    let browser = Server::new().browser();
    browser.post("/count").await;
    browser.post("/set/cart/tea").await;
    // A number is no text: asked for as one it is an error, and its neighbour is not concerned.
    assert_eq!(browser.get("/read/n").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(browser.get("/read/cart").await.text, "tea");
    assert_eq!(browser.get("/number/cart").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(browser.get("/number/n").await.text, "1");
}
