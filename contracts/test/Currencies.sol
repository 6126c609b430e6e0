// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @dev Money as it should be; anyone prints it.
contract Currency is ERC20("Currency", "CUR") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @dev Keeps one unit of each transfer from what arrives.
contract FeeCurrency is Currency {
    function _update(address from, address to, uint256 value) internal virtual override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0) && value != 0) _burn(to, 1);
    }
}

/// @dev Charges the sender one unit on top of each transfer, once told so.
contract SurchargeCurrency is Currency {
    bool public charging;

    function charge() external {
        charging = true;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (charging && from != address(0) && to != address(0)) _burn(from, 1);
    }
}

/// @dev Says that it moved, and once told so moves nothing.
contract LyingCurrency is Currency {
    bool public lying;

    function lie() external {
        lying = true;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (!lying) super._update(from, to, value);
    }
}

/// @dev Refuses to pay the accounts on its list, in the way of large stablecoins.
contract ListCurrency is Currency {
    mapping(address account => bool) public listed;

    error Listed(address account);

    function list(address account, bool on) external {
        listed[account] = on;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!listed[to], Listed(to));
        super._update(from, to, value);
    }
}

/// @dev Answers `transfer` and `transferFrom` with nothing at all, as the oldest currencies do.
contract SilentCurrency {
    mapping(address account => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @dev Answers false where others revert.
contract FalseCurrency is Currency {
    bool public refusing;

    function refuse(bool on) external {
        refusing = on;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        return !refusing && super.transfer(to, amount);
    }
}

/// @dev Tells an accomplice of each transfer, who then does what it was told to.
contract HookCurrency is Currency {
    address public target;
    bytes public data;
    bool public entered;
    bytes public answer;

    function arm(address target_, bytes calldata data_) external {
        target = target_;
        data = data_;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (target != address(0) && from != address(0)) {
            (entered, answer) = target.call(data);
        }
    }
}

/// @dev Deeds that anyone makes.
contract Deeds is ERC721("Deeds", "DEED") {
    function mint(address to, uint256 id) external {
        _mint(to, id);
    }
}

/// @dev Deeds that stay where they are, whatever was asked.
contract StuckDeeds is Deeds {
    function transferFrom(address, address, uint256) public pure override {}
}

/// @dev A wallet that is a contract: its signatures are its owner's (ERC-1271).
contract Wallet {
    address private immutable _owner;

    constructor(address owner) {
        _owner = owner;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        return ECDSA.recover(hash, signature) == _owner ? this.isValidSignature.selector : bytes4(0xffffffff);
    }

    function run(address target, bytes calldata data) external returns (bytes memory) {
        (bool done, bytes memory answer) = target.call(data);
        require(done);
        return answer;
    }
}
