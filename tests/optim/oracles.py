"""The algorithms once more in NumPy and float64, written from their papers and `API.md`.

Each oracle is a generator function: it gets the parameter and the hyperparameters, is sent one
gradient at a time, and yields the parameter after the step.
"""

import numpy as np


def run(oracle, start, gradients, **settings):
    """The parameters after each step."""
    steps = oracle(np.array(start, dtype=np.float64), **settings)
    next(steps)
    return [steps.send(np.array(g, dtype=np.float64)) for g in gradients]


def sgd(x, lr, weight_decay=0.0):
    g = yield
    while True:
        x = x - lr * weight_decay * x
        x = x - lr * g
        g = yield x


def momentum(x, lr, momentum=0.9, weight_decay=0.0):
    v = np.zeros_like(x)
    g = yield
    while True:
        x = x * (1 - lr * weight_decay)
        v = momentum * v - lr * g
        x = x + v
        g = yield x


def nesterov(x, lr, momentum=0.9, weight_decay=0.0):
    """Sutskever et al. (2013), eq. 3 and 4, kept at the point where the gradient is taken."""
    v = np.zeros_like(x)
    g = yield
    while True:
        x = x * (1 - lr * weight_decay)
        behind = x - momentum * v
        v = momentum * v - lr * g
        x = behind + v + momentum * v
        g = yield x


def adagrad(x, lr, epsilon=1e-6, weight_decay=0.0):
    total = np.zeros_like(x)
    g = yield
    while True:
        total = total + g * g
        x = x * (1 - lr * weight_decay) - lr * g / np.sqrt(total + epsilon)
        g = yield x


def rmsprop(x, lr, epsilon=1e-6, rho=0.9, weight_decay=0.0):
    mean = np.zeros_like(x)
    g = yield
    while True:
        mean = rho * mean + (1 - rho) * g * g
        x = x * (1 - lr * weight_decay) - lr * g / np.sqrt(mean + epsilon)
        g = yield x


def adadelta(x, lr=1.0, epsilon=1e-6, rho=0.95, weight_decay=0.0):
    squares, changes = np.zeros_like(x), np.zeros_like(x)
    g = yield
    while True:
        squares = rho * squares + (1 - rho) * g * g
        change = -np.sqrt(changes + epsilon) / np.sqrt(squares + epsilon) * g
        changes = rho * changes + (1 - rho) * change * change
        x = x * (1 - lr * weight_decay) + lr * change
        g = yield x


def adamw(
    x, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01, amsgrad=False, maximize=False
):
    """The box in `API.md`, line by line."""
    m, v, vmax, t = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), 0
    g = yield
    while True:
        t += 1
        g = -g if maximize else g
        x = x - lr * weight_decay * x
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        if amsgrad:
            v_hat = vmax = np.maximum(vmax, v_hat)
        x = x - lr * m_hat / (np.sqrt(v_hat) + eps)
        g = yield x


def adam(x, lr, weight_decay=0.0, **settings):
    return adamw(x, lr, weight_decay=weight_decay, **settings)


def nadam(
    x, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
    product_dtype=np.float64,
):  # fmt: skip
    """Dozat (2016), algorithm 2. PyTorch keeps the product in float32."""
    m, v, product, t = np.zeros_like(x), np.zeros_like(x), product_dtype(1), 0
    g = yield
    while True:
        t += 1
        mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
        product = product_dtype(product * mu)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat = mu_next * m / (1 - float(product) * mu_next) + (1 - mu) * g / (1 - float(product))
        x = x * (1 - lr * weight_decay) - lr * m_hat / (np.sqrt(v / (1 - beta2**t)) + eps)
        g = yield x


def radam(x, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Liu et al. (2020), algorithm 2."""
    m, v, t = np.zeros_like(x), np.zeros_like(x), 0
    longest = 2 / (1 - beta2) - 1
    g = yield
    while True:
        t += 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        change = m / (1 - beta1**t)
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        if length > 5:
            r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            change = change * np.sqrt(r) * np.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
        x = x * (1 - lr * weight_decay) - lr * change
        g = yield x


def adamax(x, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Kingma and Ba (2015), algorithm 2; eps as in PyTorch."""
    m, u, t = np.zeros_like(x), np.zeros_like(x), 0
    g = yield
    while True:
        t += 1
        m = beta1 * m + (1 - beta1) * g
        u = np.maximum(beta2 * u, np.abs(g) + eps)
        x = x * (1 - lr * weight_decay) - lr / (1 - beta1**t) * m / u
        g = yield x


def lion(x, lr, beta1=0.9, beta2=0.99, weight_decay=0.0):
    """Chen et al. (2023), algorithm 2."""
    m = np.zeros_like(x)
    g = yield
    while True:
        x = x - lr * (np.sign(beta1 * m + (1 - beta1) * g) + weight_decay * x)
        m = beta2 * m + (1 - beta2) * g
        g = yield x


def adan(x, lr=1e-3, betas=(0.02, 0.08, 0.01), eps=1e-8, weight_decay=0.02, no_prox=False):
    """Xie et al. (2022), algorithm 1, with the bias corrections of its authors' code."""
    b1, b2, b3 = betas
    m, v, n, t, before = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), 0, None
    g = yield
    while True:
        t += 1
        difference = np.zeros_like(g) if before is None else g - before
        before = g
        m = (1 - b1) * m + b1 * g
        v = (1 - b2) * v + b2 * difference
        n = (1 - b3) * n + b3 * (g + (1 - b2) * difference) ** 2
        m_hat = m / (1 - (1 - b1) ** t)
        v_hat = v / (1 - (1 - b2) ** t)
        n_hat = n / (1 - (1 - b3) ** t)
        change = lr / (np.sqrt(n_hat) + eps) * (m_hat + (1 - b2) * v_hat)
        if no_prox:
            x = x * (1 - weight_decay * lr) - change
        else:
            x = (x - change) / (1 + weight_decay * lr)
        g = yield x


def lars(x, lr, momentum=0.9, weight_decay=1e-4, tc=1e-3, eps=1e-5):
    """You, Gitman and Ginsburg (2017), algorithm 1."""
    m = np.zeros_like(x)
    g = yield
    while True:
        of_x, of_g = np.linalg.norm(x), np.linalg.norm(g)
        local = tc * of_x / (of_g + weight_decay * of_x + eps) if of_x > 0 and of_g > 0 else 1.0
        m = momentum * m + lr * local * (g + weight_decay * x)
        x = x - m
        g = yield x


def lamb(x, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0):
    """You et al. (2020), algorithm 2."""
    m, v, t = np.zeros_like(x), np.zeros_like(x), 0
    g = yield
    while True:
        t += 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        u = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps) + weight_decay * x
        of_x, of_u = np.linalg.norm(x), np.linalg.norm(u)
        x = x - lr * (of_x / of_u if of_x > 0 and of_u > 0 else 1.0) * u
        g = yield x


def sm3(x, lr, beta=0.0, momentum=0.0, eps=1e-30, weight_decay=0.0):
    """Anil et al. (2019), SM3-II, by loops over the elements."""
    accumulators = [np.zeros(n) for n in x.shape] or [np.zeros(1)]
    buffer = np.zeros_like(x)
    g = yield
    while True:
        new = [a.copy() for a in accumulators]
        nu = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            own = index or (0,)
            least = min(a[i] for a, i in zip(accumulators, own, strict=True))
            nu[index] = (beta or 1.0) * least + (1 - beta) * g[index] ** 2
            for a, i in zip(new, own, strict=True):
                a[i] = max(a[i], nu[index])
        accumulators = new
        u = g / np.sqrt(nu + eps)
        if momentum > 0:
            u = buffer = momentum * buffer + (1 - momentum) * u
        x = x * (1 - lr * weight_decay) - lr * u
        g = yield x


def muon(
    x, lr=0.02, momentum=0.95, nesterov=True, ns_steps=5, adjust="original", weight_decay=0.1,
    beta1=0.9, beta2=0.999, eps=1e-8,
):  # fmt: skip
    """Jordan et al. (2024); everything but matrices by the box of AdamW."""
    if x.ndim != 2:
        yield from adamw(x, lr, beta1, beta2, eps, weight_decay)
    b = np.zeros_like(x)
    g = yield
    while True:
        b = momentum * b + (1 - momentum) * g
        d = momentum * b + (1 - momentum) * g if nesterov else b
        wide = d.T if d.shape[0] > d.shape[1] else d
        wide = wide / (np.linalg.norm(wide) + 1e-7)
        for _ in range(ns_steps):
            a = wide @ wide.T
            wide = 3.4445 * wide + (-4.7750 * a + 2.0315 * a @ a) @ wide
        d = wide.T if d.shape[0] > d.shape[1] else wide
        rows, columns = x.shape
        scale = np.sqrt(max(1, rows / columns))
        if adjust == "match_adamw":
            scale = 0.2 * np.sqrt(max(rows, columns))
        x = x * (1 - lr * weight_decay) - lr * scale * d
        g = yield x
