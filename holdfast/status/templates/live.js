(function () {
  "use strict";
  var place = document.body.dataset.events, stale = document.getElementById("stale");
  function tell() {
    var at = document.querySelector("#as-of time");
    if (!at || !stale) { return; }
    var minutes = Math.floor((Date.now() - Date.parse(at.dateTime)) / 60000);
    if (minutes >= 3) {
      stale.textContent = "This page is " + (minutes < 120 ? minutes + " minutes" : Math.floor(minutes / 60) + " hours") +
        " old: nothing newer is known.";
      stale.hidden = false;
    } else if (stale.dataset.kept !== "yes") {
      stale.hidden = true;
    }
  }
  function renew() {
    fetch(location.pathname, { cache: "no-cache", credentials: "same-origin" }).then(function (answer) {
      return answer.ok ? answer.text() : "";
    }).then(function (text) {
      var next = text && new DOMParser().parseFromString(text, "text/html").getElementById("live");
      var here = document.getElementById("live");
      if (!next || !here) { return; }
      var held = document.activeElement, open = [], id = held && here.contains(held) ? held.id : "";
      here.querySelectorAll("details[open][id]").forEach(function (each) { open.push(each.id); });
      here.replaceWith(document.adoptNode(next));
      open.forEach(function (each) { var one = document.getElementById(each); if (one) { one.open = true; } });
      if (id && document.getElementById(id)) { document.getElementById(id).focus({ preventScroll: true }); }
      stale = document.getElementById("stale");
      tell();
    }).catch(tell);
  }
  tell();
  setInterval(tell, 15000);
  if (!place || !window.EventSource) { return; }
  var source = null, timer = 0, seen = document.body.dataset.seen;
  function listen() {
    if (source) { return; }
    source = new EventSource(place);
    source.addEventListener("snapshot", function (event) {
      if (event.data === seen) { return; }
      seen = event.data;
      renew();
    });
    source.addEventListener("alive", function (event) {
      var at = document.querySelector("#as-of time"), told = event.data.split(" ");
      if (at && told.length === 2) { at.dateTime = told[0]; at.textContent = told[1] + " UTC"; }
      tell();
    });
    source.addEventListener("error", function () {
      if (source && source.readyState === EventSource.CLOSED && !timer) { timer = setInterval(renew, 60000); }
    });
  }
  // A page that is kept for the way back must not hold one of the few connections that a browser has to a server.
  window.addEventListener("pagehide", function () { if (source) { source.close(); source = null; } });
  window.addEventListener("pageshow", listen);
  listen();
}());
