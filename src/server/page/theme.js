// Runs before anything is drawn, so that a chosen theme does not flash up in the other one.
(() => {
  const stored = () => {
    try { return localStorage.getItem("millpond.theme"); } catch { return null; }
  };
  const chosen = stored();
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
