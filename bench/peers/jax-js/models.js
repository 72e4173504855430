/** The models in jax-js: losses of parameters, by their names in grnewt, a batch and its classes. */
import { lax, nn, numpy as np } from "@jax-js/jax";

const CLASSES = 10;

function linear(p, name, x) {
  return np.matmul(x, np.matrixTranspose(p[`${name}.weight`])).add(p[`${name}.bias`]);
}

function convolution(p, name, x) {
  const bias = p[`${name}.bias`];
  return lax.conv(x, p[`${name}.weight`], [1, 1], "VALID").add(bias.reshape([1, bias.shape[0], 1, 1]));
}

/** The largest of each 2 × 2. */
function pool(x) {
  const [samples, channels, height, width] = x.shape;
  return np.max(x.reshape([samples, channels, height / 2, 2, width / 2, 2]), [3, 5]);
}

const MODELS = {
  shallow: (p, x) => {
    for (let i = 0; i < 3; i++) x = np.tanh(linear(p, `layers.${i}`, x));
    return linear(p, "layers.3", x);
  },
  lenet: (p, x) => {
    x = pool(np.tanh(convolution(p, "conv1", x)));
    x = pool(np.tanh(convolution(p, "conv2", x)));
    x = x.reshape([x.shape[0], 400]);
    for (const name of ["fc1", "fc2"]) x = np.tanh(linear(p, name, x));
    return linear(p, "fc3", x);
  },
};

/** The negative log-likelihood of a model. */
export function lossOf(name) {
  return (p, x, y) => {
    const samples = x.shape[0];
    const scores = nn.logSoftmax(MODELS[name](p, x), 1);
    return scores
      .mul(nn.oneHot(y, CLASSES))
      .sum()
      .mul(-1 / samples);
  };
}
