//! `/users`.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::server::{Auth, Site};

async fn admin_token(auth: &Auth, site: &Site) -> String {
    auth.token("admin@example.com", &site.admin_password())
        .await
}

pub async fn only_an_administrator_creates_and_lists_users(site: Site) {
    let auth = site.start().await;
    let admin = format!("Bearer {}", admin_token(&auth, &site).await);
    let ann = json!({"email": "Ann@Example.com", "password": "twelve chars"});
    auth.post("/users", &ann).await.problem(401);
    let create = |token: String, user: Value| {
        let auth = &auth;
        async move {
            let headers = [("authorization", token.as_str())];
            auth.send(Method::POST, "/users", &headers, Some(&user))
                .await
        }
    };
    create("Bearer x.y.z".to_owned(), ann.clone())
        .await
        .problem(401);

    let created = create(admin.clone(), ann.clone()).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    let user = &created.json()["data"]["user"];
    assert_eq!(
        (&user["email"], &user["admin"]),
        (&json!("ann@example.com"), &json!(false))
    );
    create(admin.clone(), ann.clone()).await.problem(409);

    let ordinary = format!(
        "Bearer {}",
        auth.token("ann@example.com", "twelve chars").await
    );
    create(ordinary.clone(), ann.clone()).await.problem(403);
    auth.send(Method::GET, "/users", &[("authorization", &ordinary)], None)
        .await
        .problem(403);

    let bob = json!({"email": "bob@example.com", "password": "twelve chars", "admin": true});
    assert_eq!(create(admin, bob).await.status, StatusCode::CREATED);
    let second = format!(
        "Bearer {}",
        auth.token("bob@example.com", "twelve chars").await
    );
    let listed = auth
        .send(Method::GET, "/users", &[("authorization", &second)], None)
        .await;
    let emails: Vec<_> = listed.json()["data"]["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["email"].clone())
        .collect();
    assert_eq!(
        emails,
        ["admin@example.com", "ann@example.com", "bob@example.com"]
    );
    auth.stop().await;
}

pub async fn beside_the_suite_token_the_users_token_has_a_header_of_its_own(mut site: Site) {
    const SUITE_TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let file = site.directory.path().join("suite-token");
    std::fs::write(&file, SUITE_TOKEN).unwrap();
    site.config.http.api_token_file = Some(file);
    let mut auth = site.start().await;
    let login = auth
        .login("admin@example.com", &site.admin_password())
        .await;
    login.problem(401);
    auth.suite_token = Some(SUITE_TOKEN);
    let token = admin_token(&auth, &site).await;
    let ann = json!({"email": "ann@example.com", "password": "twelve chars"});
    // The suite's token alone makes nobody an administrator.
    auth.post("/users", &ann).await.problem(401);
    assert_eq!(
        auth.create_user(&token, &ann).await.status,
        StatusCode::CREATED
    );
    auth.suite_token = None;
    auth.create_user(&token, &ann).await.problem(401);
    auth.stop().await;
}

pub async fn of_two_creations_at_once_one_wins(site: Site) {
    let auth = site.start().await;
    let token = admin_token(&auth, &site).await;
    for number in 0..5 {
        let user =
            |password| json!({"email": format!("u{number}@example.com"), "password": password});
        let (one, other) = (user("password number one"), user("password number two"));
        let (a, b) = tokio::join!(
            auth.create_user(&token, &one),
            auth.create_user(&token, &other)
        );
        let mut statuses = [a.status.as_u16(), b.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        // The one that was told 201 is the one that counts.
        let winner = if a.status == StatusCode::CREATED {
            one
        } else {
            other
        };
        assert_eq!(
            auth.post("/authenticate", &winner).await.status,
            StatusCode::OK
        );
    }
    auth.stop().await;
}

pub async fn passwords_are_taken_whole(site: Site) {
    let auth = site.start().await;
    let token = admin_token(&auth, &site).await;
    let accepted = [
        "x".repeat(12),
        "é".repeat(64),
        "x".repeat(128),
        "x".repeat(1024),
        "\0".repeat(12),
    ];
    for (number, password) in accepted.iter().enumerate() {
        let email = format!("u{number}@example.com");
        let user = json!({"email": email, "password": password});
        let created = auth.create_user(&token, &user).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
        auth.token(&email, password).await;
        let mut shorter = password.clone();
        shorter.pop();
        auth.login(&email, &shorter).await.problem(401);
        let padded = format!("{shorter} ");
        auth.login(&email, &padded).await.problem(401);
    }
    for password in ["", "x", &"é".repeat(11), &"x".repeat(1025)] {
        let user = json!({"email": "new@example.com", "password": password});
        auth.create_user(&token, &user).await.problem(400);
    }
    auth.stop().await;
}

pub async fn a_list_is_cut_into_pages(site: Site) {
    let auth = site.start().await;
    let token = admin_token(&auth, &site).await;
    for number in 0..4 {
        let user = json!({"email": format!("u{number}@example.com"), "password": "twelve chars"});
        assert_eq!(
            auth.create_user(&token, &user).await.status,
            StatusCode::CREATED
        );
    }
    let mut emails = Vec::new();
    let mut path = "/users?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = auth
            .send(Method::GET, &path, &[("x-user-token", &token)], None)
            .await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        let page = page.json();
        pages += 1;
        emails.extend(
            page["data"]["users"]
                .as_array()
                .unwrap()
                .iter()
                .map(|u| u["email"].clone()),
        );
        let Some(next) = page["data"]["next"].as_str() else {
            break;
        };
        path = format!("/users?limit=2&after={next}");
    }
    assert_eq!(pages, 3);
    let expected = [
        "admin@example.com",
        "u0@example.com",
        "u1@example.com",
        "u2@example.com",
        "u3@example.com",
    ];
    assert_eq!(emails, expected);
    for query in [
        "limit=0",
        "limit=-1",
        "limit=201",
        "limit=1e9",
        "after=x'",
        "offset=1",
    ] {
        let path = format!("/users?{query}");
        auth.send(Method::GET, &path, &[("x-user-token", &token)], None)
            .await
            .problem(400);
    }
    auth.stop().await;
}
