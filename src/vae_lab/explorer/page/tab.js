// Entry point of the tab of TensorBoard, whose frame moves on to the page itself.

export function render() {
  location.replace(new URL("page.html", import.meta.url));
}
