//! What `stats` and `explain` tell.

use super::*;

/// Of `stats=all`: all samples, and those of each step.
async fn counted(path: &str) -> (u64, String) {
    let (_, value) = send(&api(), get(&format!("/api/v1/{path}&stats=all"))).await;
    let samples = &value["data"]["stats"]["samples"];
    let total = samples["totalQueryableSamples"].as_u64();
    let per_step = samples["totalQueryableSamplesPerStep"].to_string();
    (total.unwrap_or_else(|| panic!("{value}")), per_step)
}

/// Two series `up`, a sample every 10 s from 0 to 1000.
#[tokio::test]
async fn samples_are_counted_by_step() {
    let check = async |query: &str, total: u64, per_step: &str| {
        let path = format!(
            "query_range?query={}&start=100&end=120&step=10",
            encode(query)
        );
        let expected = (total, per_step.to_owned());
        assert_eq!(counted(&path).await, expected, "{query}");
    };
    check("1", 0, "[[100,0],[110,0],[120,0]]").await;
    check("up", 6, "[[100,2],[110,2],[120,2]]").await;
    check("sum(up) + vector(1)", 6, "[[100,2],[110,2],[120,2]]").await;
    check("up offset 105s", 4, "[[100,0],[110,2],[120,2]]").await;
    check("up / on (job) up", 12, "[[100,4],[110,4],[120,4]]").await;
    check(
        "sum(rate(up[25s])) / (1 + sum(rate(up[25s])))",
        36,
        "[[100,12],[110,12],[120,12]]",
    )
    .await;
    // All in each window, though windows overlap.
    check("rate(up[25s])", 18, "[[100,6],[110,6],[120,6]]").await;
    // What is computed once counts at each step.
    check("up @ 50", 6, "[[100,2],[110,2],[120,2]]").await;
    check(
        "sum_over_time(up[30s] @ 50)",
        18,
        "[[100,6],[110,6],[120,6]]",
    )
    .await;
    check(
        "predict_linear(up[30s] @ 50, 1)",
        18,
        "[[100,6],[110,6],[120,6]]",
    )
    .await;
    // The points of a subquery count, not what they are made of.
    check("max_over_time(up[20s:5s])", 24, "[[100,8],[110,8],[120,8]]").await;
    check(
        "max_over_time(rate(up[1m])[10s:5s])",
        12,
        "[[100,4],[110,4],[120,4]]",
    )
    .await;
    let check = async |query: &str, total: u64| {
        let path = format!("query?query={}&time=100.5", encode(query));
        let expected = (total, format!("[[100.5,{total}]]"));
        assert_eq!(counted(&path).await, expected, "{query}");
    };
    check("up", 2).await;
    check("up[30s]", 6).await;
    check("timestamp(up)", 2).await;
    // Of a subquery that is the whole query, what it is made of.
    check("up[30s:10s]", 6).await;
    check("max_over_time(up[20s:10s])[30s:10s]", 12).await;
}

#[tokio::test]
async fn stats_tell_what_a_query_took() {
    let api = api();
    let (_, value) = send(&api, get("/api/v1/query?query=up&stats=1")).await;
    let stats = &value["data"]["stats"];
    let samples = &stats["samples"];
    assert!(
        samples.get("totalQueryableSamplesPerStep").is_none(),
        "{value}"
    );
    assert_eq!(samples["totalQueryableSamples"], 2);
    for name in ["samplesRead", "peakSamples", "peakMemoryBytes"] {
        assert!(
            samples[name].as_u64().is_some_and(|n| n > 0),
            "{name}: {value}"
        );
    }
    for name in [
        "evalTotalTime",
        "resultSortTime",
        "queryPreparationTime",
        "innerEvalTime",
        "execQueueTime",
        "execTotalTime",
    ] {
        assert!(stats["timings"][name].is_f64(), "{name}: {value}");
    }
    let (_, value) = send(&api, get("/api/v1/query?query=up")).await;
    assert!(value["data"].get("stats").is_none(), "{value}");
    assert!(value["data"].get("explain").is_none(), "{value}");
    let mut out = String::new();
    api.render_metrics(&mut out);
    assert!(
        out.contains("tidemark_query_requests_total{endpoint=\"query\",code=\"200\"} 2\n"),
        "{out}"
    );
}

/// Takes the times out of what is explained, after a look at whether they can be true.
fn without_times(node: &mut Value) -> f64 {
    let node = node.as_object_mut().expect("a node");
    let own = node.remove("selfSeconds").and_then(|own| own.as_f64());
    let total = node.remove("totalSeconds").and_then(|total| total.as_f64());
    let children = node["children"].as_array_mut().expect("children");
    let below: f64 = children.iter_mut().map(without_times).sum();
    let Some((own, total)) = own.zip(total) else {
        return below;
    };
    assert!(own >= 0.0 && own <= total + 1e-9, "{own} of {total}");
    // What measuring itself takes belongs to nobody: microseconds, on a slow machine.
    let nobody = total - own - below;
    assert!(
        (-1e-6..20e-6).contains(&nobody),
        "{own} and {below} of {total}"
    );
    total
}

#[tokio::test]
async fn plans_are_explained() {
    let api = api();
    let query = encode("sum by (job) (rate(up[30s])) / scalar(count(up @ 50)) > 0");
    let path = format!("/api/v1/query_range?query={query}&start=100&end=120&step=10");
    let (_, mut value) = send(&api, get(&format!("{path}&explain=1"))).await;
    let plan = &mut value["data"]["explain"];
    without_times(plan);
    insta::assert_snapshot!(serde_json::to_string_pretty(plan).unwrap());
    let (_, value) = send(&api, get(&format!("{path}&explain=text"))).await;
    let text = value["data"]["explain"].as_str().expect("a text");
    assert!(
        text.starts_with("vector > scalar: 2 series in, 2 series of 6 values, "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 9, "{text}");
    assert!(text.contains("(once)"), "{text}");
    let (status, _, text) = refused(&api, get(&format!("{path}&explain=maybe"))).await;
    assert_eq!(status, 400, "{text}");
}
