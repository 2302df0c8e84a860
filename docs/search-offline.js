// Search on pages that are opened as files. Browsers start no worker from a file: the worker's script runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const inner = frame.contentWindow;
      // What the script sends goes to the listeners of this object.
      inner.postMessage = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      this.inner = new Promise((ready) => {
        const script = inner.document.createElement("script");
        script.onload = () => ready(inner);
        script.src = new URL(url, document.baseURI).href;
        inner.document.body.appendChild(script);
      });
      this.frame = frame;
    }
    postMessage(data) {
      this.inner.then((inner) => inner.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
