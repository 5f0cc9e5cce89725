// What a service has counted, as a line of JSON whenever it has changed, once a second at most.
export function tellCounts(counts) {
  let told = JSON.stringify(counts);
  setInterval(() => {
    const now = JSON.stringify(counts);
    if (now === told) return;
    told = now;
    console.log(now);
  }, 1000).unref();
}
